import hashlib
def content_hash(reader): return ""

"""Where files are kept: an S3 server (`IFARM_S3_…`), or Supabase Storage by its API (`SUPABASE_URL` and `_KEY`)."""

import os

if os.environ.get("SUPABASE_URL"):
    IFARM_STORE = {
        "backend": "supabase",
        "url": os.environ["SUPABASE_URL"],
        "key": os.environ.get("SUPABASE_KEY", ""),
    }
else:
    IFARM_STORE = {
        "backend": "s3",
        "endpoint": os.environ.get("IFARM_S3_ENDPOINT", ""),
        "region": os.environ.get("IFARM_S3_REGION", "eu-central-1"),
        "access_key": os.environ.get("IFARM_S3_ACCESS_KEY", ""),
        "secret_key": os.environ.get("IFARM_S3_SECRET_KEY", ""),
    }
# Buckets are profile-pictures, animal-photos, farm-photos, documents and audit-archive, all private, with this before.
IFARM_BUCKET_PREFIX = os.environ.get("IFARM_BUCKET_PREFIX", "")

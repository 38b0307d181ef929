"""Words of files."""

from enum import StrEnum


class Bucket(StrEnum):
    """What a file is; each is a private bucket."""

    PROFILE_PICTURES = "profile-pictures"
    ANIMAL_PHOTOS = "animal-photos"
    FARM_PHOTOS = "farm-photos"
    DOCUMENTS = "documents"


class MediaState(StrEnum):
    """`RESERVED`: it may be uploaded. `READY`: it was looked at and can be shown. `DELETED`: its bytes are to go."""

    RESERVED = "reserved"
    READY = "ready"
    DELETED = "deleted"

"""What the list of files can be narrowed by."""

from django_filters import ChoiceFilter, FilterSet, UUIDFilter

from ifarm.core.choices import choices
from ifarm.media.words import Bucket


class MediaFilters(FilterSet):
    """`?bucket=&animal_id=&farm_id=&uploaded_by=`."""

    bucket = ChoiceFilter(choices=choices(Bucket))
    animal_id = UUIDFilter(field_name="animal_id")
    farm_id = UUIDFilter(field_name="farm_id")
    uploaded_by = UUIDFilter()

{% include 'common/service/fields.py' %}

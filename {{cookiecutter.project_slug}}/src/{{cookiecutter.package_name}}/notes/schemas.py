{% include 'common/service/notes/schemas.py' %}

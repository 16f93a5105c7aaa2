{% include 'common/service/notes/errors.py' %}

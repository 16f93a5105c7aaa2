{% include 'common/service/notes/upstream.py' %}

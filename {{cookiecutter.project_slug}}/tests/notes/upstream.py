{% include 'common/tests/notes/upstream.py' %}

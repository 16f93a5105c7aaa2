{% include 'common/tests/notes/conftest.py' %}

{% include 'common/tests/notes/__init__.py' %}

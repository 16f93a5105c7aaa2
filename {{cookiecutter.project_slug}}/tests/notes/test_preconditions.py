{% include 'common/tests/notes/test_preconditions.py' %}

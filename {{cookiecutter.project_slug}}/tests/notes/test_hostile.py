{% include 'common/tests/notes/test_hostile.py' %}

{% include 'common/tests/notes/test_synchronize.py' %}

{% include 'common/tests/test_hostile.py' %}

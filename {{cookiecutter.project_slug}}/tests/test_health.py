{% include 'common/tests/test_health.py' %}

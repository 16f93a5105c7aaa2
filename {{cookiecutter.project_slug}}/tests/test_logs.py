{% include 'common/tests/test_logs.py' %}

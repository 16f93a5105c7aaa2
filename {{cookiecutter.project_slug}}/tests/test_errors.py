{% include 'common/tests/test_errors.py' %}

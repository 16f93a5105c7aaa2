{% include 'common/tests/test_openapi.py' %}

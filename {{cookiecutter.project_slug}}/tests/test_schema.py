{% include 'common/tests/test_schema.py' %}

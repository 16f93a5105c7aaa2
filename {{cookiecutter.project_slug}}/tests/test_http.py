{% include 'common/tests/test_http.py' %}

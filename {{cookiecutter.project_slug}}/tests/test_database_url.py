{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/test_database_url.py' %}
{% endfilter %}

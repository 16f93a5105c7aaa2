{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/sample_schemas.py' %}
{% endfilter %}

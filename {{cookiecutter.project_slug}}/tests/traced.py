{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/traced.py' %}
{% endfilter %}

{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/test_metrics.py' %}
{% endfilter %}

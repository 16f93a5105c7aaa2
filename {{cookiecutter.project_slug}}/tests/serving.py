{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/serving.py' %}
{% endfilter %}

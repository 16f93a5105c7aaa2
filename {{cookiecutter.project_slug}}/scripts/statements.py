{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/scripts/statements.py' %}
{% endfilter %}

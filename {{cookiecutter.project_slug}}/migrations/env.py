{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/migrations/env.py' %}
{% endfilter %}

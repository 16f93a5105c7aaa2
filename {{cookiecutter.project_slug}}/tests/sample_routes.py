{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'framework/' ~ cookiecutter.framework ~ '/tests/sample_routes.py' %}
{% endfilter %}

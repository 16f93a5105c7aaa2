{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'framework/' ~ cookiecutter.framework ~ '/tests/boxes.py' %}
{% endfilter %}

{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/tests/notes/test_settings.py' %}
{% endfilter %}

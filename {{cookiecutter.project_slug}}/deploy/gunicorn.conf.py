{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'common/deploy/gunicorn.conf.py' %}
{% endfilter %}

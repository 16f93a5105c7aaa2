{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include 'pool/' ~ cookiecutter.pool ~ '/' ~ cookiecutter.sqlalchemy ~ '/tests/parcel_queries.py' %}
{% endfilter %}

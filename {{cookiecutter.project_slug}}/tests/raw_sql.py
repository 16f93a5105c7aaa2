{% filter replace('from service', 'from ' ~ cookiecutter.package_name) %}
{% include ['pool/' ~ cookiecutter.pool ~ '/tests/raw_sql.py', 'pool/' ~ cookiecutter.pool ~ '/' ~ cookiecutter.sqlalchemy ~ '/tests/raw_sql.py'] %}
{% endfilter %}

{% include ['pool/' ~ cookiecutter.pool ~ '/service/database.py', 'pool/' ~ cookiecutter.pool ~ '/' ~ cookiecutter.sqlalchemy ~ '/service/database.py'] %}

{% include ['pool/' ~ cookiecutter.pool ~ '/service/notes/queries.py', 'pool/' ~ cookiecutter.pool ~ '/' ~ cookiecutter.sqlalchemy ~ '/service/notes/queries.py'] %}

{% include 'sqlalchemy/' ~ cookiecutter.sqlalchemy ~ '/tests/parcels.py' %}

{% include 'sqlalchemy/' ~ cookiecutter.sqlalchemy ~ '/service/models.py' %}

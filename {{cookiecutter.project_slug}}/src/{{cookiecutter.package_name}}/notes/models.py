{% include 'sqlalchemy/' ~ cookiecutter.sqlalchemy ~ '/service/notes/models.py' %}

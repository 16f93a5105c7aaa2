{% include 'sqlalchemy/' ~ cookiecutter.sqlalchemy ~ '/tests/sample_models.py' %}

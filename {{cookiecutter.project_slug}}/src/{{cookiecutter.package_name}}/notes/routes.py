{% include 'framework/' ~ cookiecutter.framework ~ '/service/notes/routes.py' %}

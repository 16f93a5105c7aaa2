{% include 'framework/' ~ cookiecutter.framework ~ '/service/openapi.py' %}

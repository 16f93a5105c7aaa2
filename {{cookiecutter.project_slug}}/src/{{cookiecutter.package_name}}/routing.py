{% include 'framework/' ~ cookiecutter.framework ~ '/service/routing.py' %}

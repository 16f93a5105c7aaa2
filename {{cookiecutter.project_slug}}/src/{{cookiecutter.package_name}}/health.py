{% include 'framework/' ~ cookiecutter.framework ~ '/service/health.py' %}

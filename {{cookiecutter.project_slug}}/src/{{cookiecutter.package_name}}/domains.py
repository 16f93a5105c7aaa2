{% include 'framework/' ~ cookiecutter.framework ~ '/service/domains.py' %}

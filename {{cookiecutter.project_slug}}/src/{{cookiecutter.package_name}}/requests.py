{% include 'framework/' ~ cookiecutter.framework ~ '/service/requests.py' %}

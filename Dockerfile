# The image of every service in docker-compose.yaml.
FROM python:3.12-slim

RUN useradd --create-home --uid 50000 airflow \
    && mkdir -p /opt/tributary /opt/airflow/logs \
    && chown -R airflow /opt/tributary /opt/airflow
WORKDIR /opt/tributary

COPY requirements.txt .
RUN pip install --no-cache-dir --requirement requirements.txt
COPY --chown=airflow pyproject.toml requirements.in README.md LICENSE setup.py ./
COPY --chown=airflow include include
COPY --chown=airflow dags dags
COPY --chown=airflow plugins plugins
COPY --chown=airflow dbt dbt
# Beside the installed metadata, Airflow takes that of the sources for a second plugin.
RUN pip install --no-cache-dir --no-deps --editable . && rm -rf include/*.egg-info

USER airflow
ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/tributary/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/tributary/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    TRIBUTARY_HOME=/opt/airflow/tributary \
    DO_NOT_TRACK=1

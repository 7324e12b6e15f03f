# The service: docker build -t elasticface . && docker run -p 127.0.0.1:8000:8000 -v elasticface:/var/lib/elasticface elasticface
# docs/service.md says more: how to make the key, and how to run it with fewer rights.
FROM python:3.13-slim
COPY . /src
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu -c /src/constraints.txt "/src[service,gallery,export]" \
    && rm -r /src \
    && useradd --system --no-create-home elasticface \
    && install -d -m 0700 -o elasticface /var/lib/elasticface /var/lib/elasticface/keys /var/lib/elasticface/gallery
USER elasticface
VOLUME /var/lib/elasticface
EXPOSE 8000
# Not /readyz: a service that is busy, or whose database is away, is not mended by being replaced.
HEALTHCHECK --start-period=60s --timeout=10s CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=5)"]
ENTRYPOINT ["elasticface", "serve", "--host", "0.0.0.0", "--key-folder", "/var/lib/elasticface/keys", "--database", "/var/lib/elasticface/gallery"]

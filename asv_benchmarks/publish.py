"""Publish the history as pages that open offline, by a double click: python asv_benchmarks/publish.py

asv's pages load libraries from ten addresses, and their data over HTTP, which a browser refuses for files. Both are
laid beside the pages instead: the libraries are fetched once from the npm registry into .asv, never committed; the data
become a script, from which jQuery is told to answer.
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile

import readme_table
from history import FOLDER

LIBRARIES = FOLDER / ".asv" / "npm"
PAGES = FOLDER / ".asv" / "html"

# The name that a page asks for: the npm package and the file in it. Flot is not minified there; stupidtable is newer.
FLOT = ("", ".time", ".selection", ".categories")
FETCHED = {
    "jquery-3.3.1.min.js": ("jquery@3.3.1", "dist/jquery.min.js"),
    **{f"jquery.flot{part}.min.js": ("flot@0.8.3", f"jquery.flot{part}.js") for part in FLOT},
    "jquery.flot.orderBars.js": ("flot-orderbars@1.0.0", "js/jquery.flot.orderBars.js"),
    "stupidtable.min.js": ("stupid-table-plugin@1.1.3", "stupidtable.min.js"),
    "md5.min.js": ("blueimp-md5@2.19.0", "js/md5.min.js"),
    "bootstrap.min.js": ("bootstrap@3.1.1", "dist/js/bootstrap.min.js"),
    "bootstrap.min.css": ("bootstrap@3.1.1", "dist/css/bootstrap.min.css"),
}

REMOTE = re.compile(r'(src|href)="https://[^"]*/([^/"]+\.(?:js|css))"[^>]*?(/?)>')

ANSWER = """
jQuery.ajaxTransport("+*", function (options) {
  var text = ASV_DATA[decodeURIComponent(options.url.split("?")[0])];
  if (text === undefined) { return; }
  return {
    send: function (headers, complete) { setTimeout(function () { complete(200, "OK", {text: text}); }, 0); },
    abort: function () {}
  };
});
"""


CHARTS_PAGE = """<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <title>fastgate beside its peers</title>
    <style>
      body { font: 15px sans-serif; color: #24292f; max-width: 960px; margin: 2em auto; padding: 0 1em; }
      img { width: 100%; margin: 1em 0 2.5em; }
    </style>
  </head>
  <body>
    <p><a href="index.html">Benchmark grid</a></p>
    <h1>fastgate beside its peers</h1>
PICTURES
  </body>
</html>
"""


def fetch():
    """Every library that is not here yet."""
    LIBRARIES.mkdir(parents=True, exist_ok=True)
    missing = {name: source for name, source in FETCHED.items() if not (LIBRARIES / name).exists()}
    if missing and shutil.which("npm") is None:
        sys.exit("npm (of Node.js) fetches the libraries of asv's pages; it is not installed")
    for package in dict.fromkeys(package for package, _ in missing.values()):
        command = ["npm", "pack", "--silent", "--pack-destination", str(LIBRARIES), package]
        archive = LIBRARIES / subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
        with tarfile.open(archive) as files:
            for name, (of, member) in missing.items():
                if of == package:
                    (LIBRARIES / name).write_bytes(files.extractfile(f"package/{member}").read())
        archive.unlink()


def localise(page):
    """asv's page with libraries from beside it, and the data right after jQuery; anything unknown is an error."""
    asked = {name for _, name, _ in REMOTE.findall(page)}
    if asked != set(FETCHED):
        sys.exit(f"asv's page asks for other libraries than publish.py knows: {sorted(asked ^ set(FETCHED))}")
    page = REMOTE.sub(r'\1="libraries/\2"\3>', page)
    jquery = '<script src="libraries/jquery-3.3.1.min.js"></script>'
    last = '<li id="nav-li-regressions"><a href="#/regressions">Regressions</a></li>'
    charts = '<li><a href="charts.html">Beside its peers</a></li>'
    return page.replace(jquery, f'{jquery}\n    <script src="data.js"></script>').replace(last, last + charts)


def charts_page(charts):
    """{name: what it shows} -> a page of these pictures."""
    pictures = [f'    <h2>{text}</h2>\n    <img src="charts/{name}.svg" alt="">' for name, text in charts.items()]
    return CHARTS_PAGE.replace("PICTURES", "\n".join(pictures))


def data_script(pages):
    """All data of the pages, by the name under which they are asked for."""
    files = sorted(pages.rglob("*.json"))
    data = {path.relative_to(pages).as_posix(): path.read_text("utf-8") for path in files}
    data["swallow.ico"] = ""  # the page asks for it to learn whether there is a server
    return f"var ASV_DATA = {json.dumps(data)};\n{ANSWER}"


def main():
    config = str(FOLDER / "asv.conf.json")
    subprocess.run([sys.executable, "-m", "asv", "publish", "--config", config], check=True)
    fetch()
    shutil.copytree(LIBRARIES, PAGES / "libraries", dirs_exist_ok=True)
    index = PAGES / "index.html"
    index.write_text(localise(index.read_text("utf-8")), "utf-8")
    shutil.copytree(FOLDER / "charts", PAGES / "charts", dirs_exist_ok=True)
    (PAGES / "charts.html").write_text(charts_page(readme_table.CHARTS), "utf-8")
    (PAGES / "data.js").write_text(data_script(PAGES), "utf-8")
    sys.stdout.write(f"open {index.as_uri()}\n")


if __name__ == "__main__":
    main()

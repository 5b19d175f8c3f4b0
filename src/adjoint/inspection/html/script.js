"use strict";
(() => {
  const all = (query, inside = document) => [...inside.querySelectorAll(query)];
  const get = (id) => document.getElementById(id);
  const root = document.documentElement;
  const asked = new URLSearchParams(location.search);

  // Light or dark: the system's, until the switch or the address (?theme=dark) says otherwise.
  const store = (name, value) => {
    try { if (value) localStorage.setItem(name, value); return localStorage.getItem(name); } catch { return null; }
  };
  const theme = get("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const label = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Change to the ${isDark() ? "light" : "dark"} page`);
  };
  const chosen = asked.get("theme") || store("adjoint-theme");
  if (chosen === "dark" || chosen === "light") root.dataset.theme = chosen;
  theme.hidden = false;
  theme.addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    store("adjoint-theme", root.dataset.theme);
    label();
  });
  system.addEventListener("change", label);
  label();

  // Tables: a heading sorts, large first, then small first, then as in the model.
  const told = (cell) => (cell.dataset.v ?? (cell.textContent === "–" ? "" : cell.textContent));
  const sort = (table, place, way) => {
    const body = table.tBodies[0];
    const rows = all("tr", body);
    rows.forEach((row, i) => (row.dataset.i ??= i));
    const keys = new Map(rows.map((row) => [row, told(row.cells[place])]));
    const numbers = rows.every((row) => !Number.isNaN(Number(keys.get(row))));
    const sign = way === "ascending" ? 1 : -1;
    const model = (a, b) => a.dataset.i - b.dataset.i;
    rows.sort((a, b) => {
      if (way === "none") return model(a, b);
      const [x, y] = [keys.get(a), keys.get(b)];
      if (x === y) return model(a, b);
      if (x === "" || y === "") return x === "" ? 1 : -1;
      const less = numbers ? Number(x) < Number(y) : x.localeCompare(y, "en", { numeric: true }) < 0;
      return less ? -sign : sign;
    });
    body.append(...rows);
    all("thead th", table).forEach((th, i) => th.setAttribute("aria-sort", i === place ? way : "none"));
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((th, place) => {
      th.querySelector("button").addEventListener("click", () => {
        const first = place ? "descending" : "ascending";
        const then = place ? "ascending" : "descending";
        const now = th.getAttribute("aria-sort");
        sort(table, place, now === "none" ? first : now === first ? then : "none");
      });
    });
  }

  // The table of all weights: words of its filter, and what is hidden there is hidden among the spectra.
  const table = get("rows");
  if (table) {
    const tools = document.querySelector(".tools");
    tools.hidden = false;
    const rows = all("tbody tr", table);
    const kinds = rows.map((row) => all("th, td.word", row).map((cell) => cell.textContent).join(" ").toLowerCase());
    const multiples = new Map(all("[data-of]").map((figure) => [figure.dataset.of, figure]));
    const narrow = () => {
      const words = get("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, i) => {
        const fits = words.every((word) => kinds[i].includes(word)) && (!get("faulty").checked || row.className);
        row.hidden = !fits;
        shown += fits ? 1 : 0;
        const figure = multiples.get(row.id.slice(1));
        if (figure) figure.hidden = !fits;
      });
      get("count").textContent = shown === rows.length ? `${shown} weights` : `${shown} of ${rows.length} weights`;
    };
    get("filter").addEventListener("input", narrow);
    get("faulty").addEventListener("change", narrow);
    get("all").addEventListener("change", () => table.classList.toggle("brief", !get("all").checked));
    get("filter").value = asked.get("filter") ?? "";
    get("all").checked = asked.has("all");
    table.classList.toggle("brief", !get("all").checked);
    narrow();
    const heading = all("thead th", table).find((th) => th.dataset.key === asked.get("sort"));
    if (heading) heading.querySelector("button").click();
    const quoted = (x) => `"${(/^[=+\-@]/.test(x) && Number.isNaN(Number(x)) ? "'" + x : x).replaceAll('"', '""')}"`;
    get("csv").addEventListener("click", () => {
      const lines = [all("thead th", table).map((th) => th.dataset.key)];
      for (const row of all("tbody tr:not([hidden])", table)) lines.push([...row.cells].map(told));
      save("weights.csv", "text/csv", lines.map((line) => line.map(quoted).join(",")).join("\n"));
    });
  }

  // Figures as files.
  const save = (name, type, data) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(data instanceof Blob ? data : new Blob([data], { type: `${type};charset=utf-8` }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  };
  const KEPT = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "font-size", "font-family"];
  const alone = (svg) => {
    const copy = svg.cloneNode(true);
    const from = all("*", svg);
    all("*", copy).forEach((part, i) => {
      const style = getComputedStyle(from[i]);
      for (const name of KEPT) part.style.setProperty(name, style.getPropertyValue(name));
    });
    const { width, height } = svg.viewBox.baseVal;
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    paper.setAttribute("width", "100%");
    paper.setAttribute("height", "100%");
    paper.style.fill = getComputedStyle(document.body).backgroundColor;
    copy.prepend(paper);
    return { text: new XMLSerializer().serializeToString(copy), width, height };
  };
  const forms = {
    SVG: (figure, name) => save(`${name}.svg`, "image/svg+xml", alone(figure.querySelector("svg")).text),
    PNG: (figure, name) => {
      const { text, width, height } = alone(figure.querySelector("svg"));
      const image = new Image();
      const scale = Math.max(2, 1200 / width);
      image.addEventListener("load", () => {
        const canvas = document.createElement("canvas");
        canvas.width = Math.round(width * scale);
        canvas.height = Math.round(height * scale);
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => save(`${name}.png`, "image/png", blob));
      });
      image.src = "data:image/svg+xml;charset=utf-8," + encodeURIComponent(text);
    },
    CSV: (figure, name) => save(`${name}.csv`, "text/csv", figure.dataset.csv),
  };
  for (const figure of all("figure[data-name]")) {
    const bar = document.createElement("div");
    bar.className = "save";
    for (const form of Object.keys(forms)) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = form;
      button.setAttribute("aria-label", `Save ${figure.dataset.name} as ${form}`);
      button.addEventListener("click", () => forms[form](figure, figure.dataset.name));
      bar.append(button);
    }
    figure.append(bar);
  }
  root.dataset.ready = "yes";
})();

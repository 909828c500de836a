"use strict";
// The page's own behaviour: a theme, and one selected request that every chart and table shows.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = data.runs;
  const $ = (id) => document.getElementById(id);
  const places = runs.map((run) => new Map(run.requests.request_id.map((id, i) => [id, i])));
  const hash = new URLSearchParams(location.hash.slice(1));

  // Charts

  const models = () => (window.Bokeh ? Bokeh.documents.flatMap((d) => [...d._all_models.values()]) : []);
  const named = (name) => models().find((m) => m.name === name);

  function paint(theme) {
    document.documentElement.dataset.theme = theme;
    const [text, line, grid] = theme === "dark" ? ["#e9e9e9", "#8a8f96", "#33373c"] : ["#1b1b1b", "#777777", "#e3e3e3"];
    const own = {
      Figure: { background_fill_color: null, border_fill_color: null, outline_line_color: line },
      Title: { text_color: text },
      LinearAxis: { major_label_text_color: text, axis_label_text_color: text, axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null },
      CategoricalAxis: { major_label_text_color: text, group_text_color: text, subgroup_text_color: text, axis_line_color: line, major_tick_line_color: line, separator_line_color: line },
      Grid: { grid_line_color: grid },
      Legend: { label_text_color: text },
    };
    for (const model of models()) if (own[model.type]) model.setv(own[model.type]);
  }

  // The selected request

  const ms = (seconds) => (seconds === null ? "" : (seconds * 1e3).toFixed(1));
  const text = (tag, content, more = {}) => Object.assign(document.createElement(tag), { textContent: content, ...more });

  function tell(id) {
    const told = [];
    runs.forEach((run, r) => {
      const i = places[r].get(id);
      if (i === undefined) return;
      const of = (name) => run.requests[name][i];
      told.push(text("h3", `${run.label}: ${id}`));
      const facts = [`${of("status")}`, `${of("prompt_len")} prompt tokens (${of("num_cached")} cached)`, `${of("output_len")} output tokens`];
      if (of("num_preemptions")) facts.push(`preempted ${of("num_preemptions")} times`);
      if (of("tenant")) facts.push(`tenant ${of("tenant")}`);
      if (of("arrival_s") !== null) facts.push(`arrived at ${of("arrival_s").toFixed(3)} s`);
      if (of("ttft_s") !== null) facts.push(`TTFT ${ms(of("ttft_s"))} ms`, `E2E ${ms(of("e2e_s"))} ms`);
      told.push(text("div", facts.join(", ")));
      const ttft = of("ttft_s");
      if (!ttft) return;
      const life = text("div", "", { className: "life" });
      data.parts.forEach((part, p) => {
        const took = of(`${part}_s`);
        const bar = text("span", `${part} ${ms(took)}`, { className: `part-${p}`, title: `${part} ${ms(took)} ms` });
        bar.style.width = `${(100 * took) / ttft}%`;
        life.append(bar);
      });
      told.push(life);
    });
    $("selected").replaceChildren(...told);
  }

  function draw(id) {
    runs.forEach((run, r) => {
      const i = places[r].get(id);
      const marks = named(`requests_${r}`);
      if (marks) marks.selected.indices = i === undefined ? [] : [i];
      const of = (name) => (i === undefined ? null : run.requests[name][i]);
      const times = [of("arrival_s"), of("first_scheduled_s"), of("first_token_s"), of("last_token_s")];
      const life = { left: [], right: [], colour: [], pattern: [] };
      [["#56B4E9", " "], ["#009E73", "."], ["#CC79A7", "x"]].forEach(([colour, pattern], k) => {
        if (times[k] === null || times[k + 1] === null) return;
        life.left.push(times[k]); life.right.push(times[k + 1]); life.colour.push(colour); life.pattern.push(pattern);
      });
      for (const replica of run.replicas) {
        const source = named(`life_${run.letter}_${replica}`);
        const sources = models().filter((m) => m.name === `life_${run.letter}_${replica}` && m.type === "ColumnDataSource");
        for (const one of sources.length ? sources : [source]) if (one) one.data = life;
      }
    });
  }

  let selected = null;
  function select(id) {
    if (id === selected) return;
    selected = id;
    const known = runs.some((_, r) => places[r].has(id));
    $("found").textContent = known || !id ? "" : "not among the requests of this page";
    $("search").value = id ?? "";
    tell(id);
    draw(id);
    for (const row of $("requests").tBodies[0].rows) row.classList.toggle("is-selected", row.dataset.id === id);
    if (id) history.replaceState(null, "", `#request=${encodeURIComponent(id)}`);
  }

  // The table of requests: those of the first run

  const columns = ["request_id", "status", "arrival_s", "ttft_s", ...data.parts.map((p) => `${p}_s`), "tpot_s", "e2e_s", "prompt_len", "output_len", "num_cached", "num_preemptions"];
  const MOST_ROWS = 300;
  let order = { column: "ttft_s", down: true };
  const title = (name) => (name === "arrival_s" ? "arrival [s]" : name.endsWith("_s") ? `${name.slice(0, -2)} [ms]` : name.replace("_", " "));

  function fill() {
    const all = runs[0].requests;
    const values = all[order.column];
    const places = values.map((_, i) => i).sort((a, b) => {
      const [x, y] = [values[a], values[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return (x < y ? -1 : x > y ? 1 : 0) * (order.down ? -1 : 1) || a - b;
    });
    const rows = places.slice(0, MOST_ROWS).map((i) => {
      const row = document.createElement("tr");
      row.tabIndex = 0;
      row.dataset.id = all.request_id[i];
      row.classList.toggle("is-selected", all.request_id[i] === selected);
      for (const name of columns) {
        const value = all[name][i];
        const told = name === "arrival_s" ? (value === null ? "" : value.toFixed(3)) : name.endsWith("_s") ? ms(value) : `${value}`;
        row.append(text("td", told));
      }
      return row;
    });
    $("requests").tBodies[0].replaceChildren(...rows);
  }

  const head = document.createElement("tr");
  for (const name of columns) {
    const cell = document.createElement("th");
    const button = text("button", title(name), { type: "button" });
    button.addEventListener("click", () => {
      order = { column: name, down: order.column === name ? !order.down : true };
      for (const other of head.cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      fill();
    });
    cell.append(button);
    head.append(cell);
  }
  $("requests").tHead.append(head);
  const chosen = (event) => event.target.closest("tr")?.dataset.id;
  $("requests").tBodies[0].addEventListener("click", (event) => chosen(event) && select(chosen(event)));
  $("requests").tBodies[0].addEventListener("keydown", (event) => {
    if (event.key === "Enter" && chosen(event)) select(chosen(event));
  });
  fill();

  $("ids").append(...runs[0].requests.request_id.slice(0, 500).map((id) => text("option", "", { value: id })));
  $("search").addEventListener("change", (event) => select(event.target.value || null));

  // Begin: Bokeh's charts come after the page is loaded

  const wanted = hash.get("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  $("theme").addEventListener("click", () => paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  function begin() {
    if (!named("requests_0")) return setTimeout(begin, 50);
    paint(wanted);
    runs.forEach((run, r) => {
      const marks = named(`requests_${r}`);
      marks.selected.properties.indices.change.connect(() => {
        const [i] = marks.selected.indices;
        if (i !== undefined && run.requests.request_id[i] !== selected) select(run.requests.request_id[i]);
      });
    });
    if (hash.get("request")) select(hash.get("request"));
    note();
  }
  // How many charts are drawn, for whoever tests the page.
  function note() {
    const charts = [...document.querySelectorAll("figure > div")];
    const drawn = charts.filter((place) => place.firstElementChild?.offsetHeight > 40);
    document.documentElement.dataset.drawn = `${drawn.length}`;
    if (drawn.length < charts.length) setTimeout(note, 100);
  }
  document.documentElement.dataset.theme = wanted;
  begin();
})();

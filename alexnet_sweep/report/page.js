"use strict";
(() => {
  // Data is only ever shown as text: elements are made here, and what they say goes through `append`.
  const data = JSON.parse(document.getElementById("flips").textContent);
  const look = document.getElementById("look");
  const dialog = document.getElementById("flip");
  const collator = new Intl.Collator(undefined, { numeric: true });
  const [BASELINE, ARM] = [6, 7];

  function make(tag, attributes = {}, ...inside) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...inside.map((part) => (part instanceof Node ? part : String(part))));
    return element;
  }

  const minus = (text) => text.replace("-", "\u2212");
  // With its sign; what is zero as shown has none.
  const signed = (number, digits = 0) => {
    const text = number.toFixed(digits);
    return Number(text) === 0 ? text.replace("-", "") : minus((number > 0 ? "+" : "") + text);
  };
  const percent = (thousandths) => (thousandths / 10).toFixed(1);
  const tone = (net) => (net > 0 ? "broken" : net < 0 ? "fixed" : "");
  const best = (flip, side) => flip[side][0][0];
  const likely = (flip, side) => flip[side][1][0];

  // A table that sorts by its columns: {title, value, show, numeric, hurts}, where `hurts` is 1 if more is worse and -1
  // if less is. `open` is called with the rows in their order and the place of one of them.
  function table(kind, columns, rows, name, open) {
    let shown = rows;
    const body = make("tbody");
    const heads = columns.map((column) => {
      const head = make("th", { scope: "col", class: column.numeric ? "r" : "" });
      if (!column.value) return head;
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const down = before ? before === "ascending" : Boolean(column.numeric);
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(column, down);
      });
      head.append(button);
      return head;
    });

    function sort(column, down) {
      const sign = down ? -1 : 1;
      shown = [...rows].sort((one, other) => {
        const [a, b] = [column.value(one), column.value(other)];
        return sign * (column.numeric ? a - b : collator.compare(a, b));
      });
      fill();
    }

    function fill() {
      body.replaceChildren(...shown.map((row, place) => {
        const line = make("tr");
        for (const column of columns) {
          const content = (column.show || column.value)(row);
          const side = column.numeric ? "r" : "long";
          const mood = column.hurts ? tone(column.hurts * column.value(row)) : "";
          const cell = make("td", { class: `${side} ${mood}`.trim() }, content);
          if (!column.numeric && typeof content === "string") cell.title = content;
          line.append(cell);
        }
        if (open) {
          line.className = "opens";
          line.tabIndex = 0;
          line.addEventListener("click", () => open(shown, place));
          line.addEventListener("keydown", (event) => {
            if (event.key === "Enter" || event.key === " ") {
              event.preventDefault();
              open(shown, place);
            }
          });
        }
        return line;
      }));
    }

    fill();
    const whole = make("table", { "aria-label": name }, make("thead", {}, make("tr", {}, ...heads)), body);
    return make("div", { class: `scroll ${kind}` }, whole);
  }

  function classTable(arm, choose) {
    const delta = ([, images, broken, fixed]) => (100 * (broken - fixed)) / (images * arm.seeds);
    return table("few", [
      { title: "class", value: (row) => data.names[row[0]] },
      { title: "images", numeric: true, value: (row) => row[1] },
      { title: "broken", numeric: true, value: (row) => row[2] },
      { title: "fixed", numeric: true, value: (row) => row[3] },
      { title: "net", numeric: true, hurts: 1, value: (row) => row[2] - row[3],
        show: (row) => signed(row[2] - row[3]) },
      { title: "Δ error, points", numeric: true, hurts: 1, value: delta, show: (row) => signed(delta(row), 1) },
    ], arm.classes, "Classes", (shown, place) => choose(shown[place][0]));
  }

  function picture(flip) {
    return make("img", { src: data.pictures[flip[8]], alt: "", loading: "lazy" });
  }

  function flipTable(flips, open) {
    const columns = [
      { title: "label", value: (flip) => data.names[flip[1]] },
      { title: "baseline says", value: (flip) => data.names[best(flip, BASELINE)] },
      { title: "%", numeric: true, value: (flip) => likely(flip, BASELINE),
        show: (flip) => percent(likely(flip, BASELINE)) },
      { title: "arm says", value: (flip) => data.names[best(flip, ARM)] },
      { title: "%", numeric: true, value: (flip) => likely(flip, ARM),
        show: (flip) => percent(likely(flip, ARM)) },
      { title: "broken", numeric: true, value: (flip) => flip[2] },
      { title: "fixed", numeric: true, value: (flip) => flip[3] },
      { title: "net", numeric: true, hurts: 1, value: (flip) => flip[2] - flip[3],
        show: (flip) => signed(flip[2] - flip[3]) },
      { title: "Δ label’s %", numeric: true, hurts: -1, value: (flip) => flip[5],
        show: (flip) => signed(flip[5] / 10, 1) },
      { title: "image", value: (flip) => flip[0] },
    ];
    if (flips.some((flip) => flip[8] >= 0)) {
      columns.unshift({ title: "", show: (flip) => (flip[8] >= 0 ? picture(flip) : "") });
    }
    return table("many", columns, flips, "Flipped images", open);
  }

  function answers(title, flip, side) {
    const [classes, shares] = flip[side];
    const list = make("ol");
    classes.forEach((number, place) => {
      const bar = make("div", { class: "bar" });
      bar.style.width = `${shares[place] / 10}%`;
      const [name, share] = [data.names[number], `${percent(shares[place])} %`];
      const line = make("li", {}, make("span", {}, name), make("span", {}, share), bar);
      if (number === flip[1]) line.className = "correct";
      list.append(line);
    });
    return make("section", {}, make("h4", {}, title), list);
  }

  function openFlip(arm, flips, place) {
    const flip = flips[place];
    const step = (by) => {
      if (flips[place + by]) openFlip(arm, flips, place + by);
    };
    const go = (text, by, name) => {
      const button = make("button", { type: "button", "aria-label": name }, text);
      button.disabled = !flips[place + by];
      button.addEventListener("click", () => step(by));
      return button;
    };
    const close = make("button", { type: "button", "aria-label": "close" }, "✕");
    close.addEventListener("click", () => dialog.close());
    const seen = make("div", { class: "seen" });
    if (flip[8] >= 0) {
      const image = picture(flip);
      image.alt = `image ${flip[0]}`;
      image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth <= 48));
      seen.classList.add("pictured");
      seen.append(image);
    }
    seen.append(answers("Baseline", flip, BASELINE), answers(arm.label, flip, ARM));
    const counts = `broken with ${flip[2]}, fixed with ${flip[3]} of ${arm.seeds} paired seeds`;
    dialog.replaceChildren(
      make("header", {}, make("h3", { id: "flip-title" }, `Label: ${data.names[flip[1]]}`),
        go("←", -1, "previous"), go("→", 1, "next"), close),
      make("div", { class: "muted" }, `${flip[0]}: ${counts}; answers of seed ${flip[4]}`),
      seen,
    );
    dialog.onkeydown = (event) => {
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    };
    if (!dialog.open) dialog.showModal();
    close.focus();
  }
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  function select(name, options, changed) {
    const list = make("select", {}, ...options.map(([value, text]) => make("option", { value }, text)));
    list.addEventListener("change", changed);
    return [make("label", {}, name, list), list];
  }

  function show(arm, place) {
    if (!arm.classes.length) {
      place.replaceChildren(...arm.facts.map((fact) => make("p", { class: "facts" }, fact)));
      return;
    }
    const labels = arm.classes.map((row) => row[0]);
    labels.sort((one, other) => collator.compare(data.names[one], data.names[other]));
    const found = make("p", { class: "facts", role: "status" });
    const rows = make("div");
    const [classField, ofClass] = select(
      "class", [["", "all"], ...labels.map((number) => [String(number), data.names[number]])], filter);
    const [kindField, ofKind] = select("kind", [["", "broken and fixed"], ["1", "broken"], ["-1", "fixed"]], filter);

    function filter() {
      const chosen = arm.flips.filter((flip) =>
        (!ofClass.value || flip[1] === Number(ofClass.value)) &&
        (!ofKind.value || Math.sign(flip[2] - flip[3]) === Number(ofKind.value)));
      found.textContent = `${chosen.length} of ${arm.flips.length} images`;
      rows.replaceChildren(chosen.length ? flipTable(chosen, (flips, place) => openFlip(arm, flips, place)) : "");
    }

    function choose(number) {
      ofClass.value = String(number);
      filter();
      classField.scrollIntoView({ block: "start" });
    }

    place.replaceChildren(
      ...arm.facts.map((fact) => make("p", { class: "facts" }, fact)),
      make("h3", {}, "By class"), classTable(arm, choose),
      make("h3", {}, "Images"), make("div", { class: "choices" }, classField, kindField), found, rows,
    );
    filter();
  }

  const place = make("div");
  const [armField, arms] = select("arm", data.arms.map((arm, number) => [String(number), arm.label]),
    () => show(data.arms[Number(arms.value)], place));
  look.append(make("div", { class: "choices" }, armField), place);
  look.hidden = false;
  show(data.arms[0], place);
})();

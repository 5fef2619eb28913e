"""How the report page looks, and the little it can do: play the films of one item together."""

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
       color: #1d2430; background: #fafbfc }
h1 { margin-bottom: .2rem; overflow-wrap: anywhere } h2 { margin-top: 3rem }
h3 { margin-top: 2rem; overflow-wrap: anywhere } h4 { margin: 1.4rem 0 .5rem }
a { color: #0057a8 } .quiet { color: #5a6577 } small { font-size: .78rem; color: #5a6577 }
.warning { background: #fff4e0; border-left: 4px solid #d98200; padding: .5rem .8rem }
.wide { overflow-x: auto } body > table, details > table { display: block; overflow-x: auto }
table { border-collapse: collapse; margin: .8rem 0; min-width: 60% }
td, th { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid #e4e7ec;
         vertical-align: top; font-weight: normal }
tr:first-child th, th.group { color: #5a6577 } tr > th:first-child { font-weight: 600 }
th.group { text-align: center; border-left: 1px solid #e4e7ec }
td.number, th.number { text-align: right; white-space: nowrap;
                       font-variant-numeric: tabular-nums }
tr.published { color: #5a6577; background: #f1f3f6 }
tr.published > th, tr.published > th:first-child { font-weight: normal }
tr.published > th[colspan] { font-size: .85rem; padding-top: .6rem }
.dot { display: inline-block; width: .7rem; height: .7rem; border-radius: 50%;
       margin-right: .5rem }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(24rem, 100%), 1fr));
         gap: 1rem 1.5rem; margin: 1.2rem 0 }
svg { width: 100%; font: 12px system-ui, sans-serif; fill: #1d2430 }
svg .grid { stroke: #e4e7ec } svg .mean { stroke: #1d2430; stroke-width: 2.2 }
svg .title { font-weight: 600; font-size: 13px } svg .quiet { fill: #5a6577 }
details { margin: .6rem 0 } summary { cursor: pointer; color: #0057a8 }
.films { display: flex; flex-wrap: wrap; gap: .9rem }
figure { margin: 0; flex: 1 1 18rem; max-width: 27rem }
video, .nothing { width: 100%; height: 13rem; background: #101828; object-fit: contain;
                  border-radius: 4px }
.nothing { color: #aab2c0; display: flex; align-items: center; justify-content: center;
           padding: 0 1rem; box-sizing: border-box; font-size: .85rem; text-align: center }
figcaption { font-size: .83rem; color: #475467; overflow-wrap: anywhere }
.prompt { white-space: pre-wrap; max-width: 50rem }
button.together { font: inherit; font-size: .78rem; font-weight: normal; color: #0057a8;
                  background: #fff; border: 1px solid #c7d0dd; border-radius: 4px;
                  cursor: pointer; padding: .05rem .5rem; margin-left: .5rem }
"""

# all speak the same words: the first is heard, the others are seen
SCRIPT = """
document.addEventListener('click', function (event) {
  if (!event.target.matches('button.together')) return;
  const films = event.target.closest('.item').querySelectorAll('video');
  films.forEach(function (film, number) {
    film.muted = number > 0; film.currentTime = 0; film.play();
  });
});
"""

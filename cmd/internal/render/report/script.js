"use strict";(function(){
var d=document,root=d.documentElement,tip=d.getElementById("tip"),tl=d.querySelector("#timeline .tl");
root.classList.add("js");
function rowText(bar){
  if(bar.title){bar.dataset.t=bar.title;bar.removeAttribute("title")}
  var tr=d.getElementById("s"+bar.dataset.s),text=bar.dataset.t||"";
  if(tr){var c=tr.cells;
    if(!text)text=c[0].textContent+", "+c[3].textContent+", "+c[1].textContent;
    if(c[5].textContent)text+="\n"+c[5].textContent;
    for(var n=tr.nextElementSibling;n&&n.className==="more";n=n.nextElementSibling)text+="\n"+n.textContent;}
  return text}
d.addEventListener("mouseover",function(e){
  var b=e.target.closest?e.target.closest(".b,.q"):null;
  if(!b){tip.hidden=true;return}
  var text=b.dataset.s!==undefined?rowText(b):(b.title||b.dataset.t||"");
  if(b.title){b.dataset.t=b.title;b.removeAttribute("title")}
  tip.hidden=!text;tip.textContent=text});
d.addEventListener("mousemove",function(e){
  if(tip.hidden)return;
  tip.style.left=Math.min(e.clientX+14,innerWidth-tip.offsetWidth-8)+"px";
  tip.style.top=Math.min(e.clientY+16,innerHeight-tip.offsetHeight-8)+"px"});
d.addEventListener("click",function(e){
  var b=e.target.closest(".b[data-s]"),id=e.target.closest("code.id");
  if(b){var tr=d.getElementById("s"+b.dataset.s);if(tr){var det=tr.closest("details");if(det)det.open=true;tr.scrollIntoView({block:"center"});location.hash="s"+b.dataset.s}}
  if(id&&!String(getSelection())){var text=id.textContent,mark=function(){id.classList.add("copied");setTimeout(function(){id.classList.remove("copied")},1200)};
    if(navigator.clipboard)navigator.clipboard.writeText(text).then(mark,function(){getSelection().selectAllChildren(id)});else getSelection().selectAllChildren(id)}});
if(tl){
  var zoom=1,box=tl.parentNode,tools=d.createElement("div");tools.className="tools";
  var set=function(z,at){z=Math.max(1,Math.min(400,z));
    var x=at===undefined?box.clientWidth/2:at,keep=(box.scrollLeft+x-190)/(tl.offsetWidth-204);
    zoom=z;tl.style.setProperty("--zoom",z);box.scrollLeft=keep*(tl.offsetWidth-204)+190-x};
  [["Zoom in",function(){set(zoom*2)}],["Zoom out",function(){set(zoom/2)}],["Whole run",function(){set(1)}]].forEach(function(t){
    var b=d.createElement("button");b.type="button";b.textContent=t[0];b.addEventListener("click",t[1]);tools.appendChild(b)});
  box.parentNode.insertBefore(tools,box);
  box.addEventListener("wheel",function(e){if(!e.ctrlKey)return;e.preventDefault();set(zoom*(e.deltaY<0?1.25:0.8),e.clientX-box.getBoundingClientRect().left)},{passive:false});
}
})();
